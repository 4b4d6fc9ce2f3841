# rego_type_error

package a

f(x) := x

g(x, y) := x

allow if f(1) == 1 with f as g
