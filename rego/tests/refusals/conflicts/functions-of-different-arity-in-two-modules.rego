# rego_type_error

package a

f(x) := x
# module
package a

f(x, y) := x + y
