# accepted

package a

import data.b as users

users contains 1
