# rego_compile_error

package a

import data.b
import data.c.b

allow if b.x
