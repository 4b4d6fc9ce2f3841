# rego_type_error

package a

p := 1

p(x) := x
