# accepted

package a

import data.b as _

allow := true
