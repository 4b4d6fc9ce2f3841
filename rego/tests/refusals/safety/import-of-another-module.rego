# rego_unsafe_var_error

package a

import data.b

p := b.x
# module
package a

q := b.x
