# rego_type_error

package b

p := 1
# module
package a

import data.b

allow if b.p == "a"
