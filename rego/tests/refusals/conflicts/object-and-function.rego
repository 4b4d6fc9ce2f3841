# rego_type_error

package a

p["x"] := 1

p(x) := x
