# rego_type_error

package b

f(x) := lower(x)
# module
package a

import data.b

allow if b.f(1) == "a"
