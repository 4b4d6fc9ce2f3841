# accepted

package a

import data.b.f

f(x) := x
