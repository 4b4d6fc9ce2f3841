# rego_type_error

package b

f(x) := x
# module
package a

import data.b

allow if b.f(1, 2) == 1
