# accepted

package a

import data.b

f(b) := b
