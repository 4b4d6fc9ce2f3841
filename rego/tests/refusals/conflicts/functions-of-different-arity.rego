# rego_type_error

package a

f(x) := x

f(x, y) := x + y
