# rego_compile_error

package a

import data.b as x
import data.c as x

allow if x.y
