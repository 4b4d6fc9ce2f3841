# rego_type_error

package a

default f(_) := 1

f(x, y) := x + y
