# rego_type_error

package a

p(x) := x

p.q := 2
