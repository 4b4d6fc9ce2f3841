# rego_type_error

package a

p.f(x) := x
# module
package a.p

f(x, y) := x + y
