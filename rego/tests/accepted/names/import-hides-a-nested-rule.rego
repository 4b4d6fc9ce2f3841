# accepted

package a

import data.b

b.c := 1
