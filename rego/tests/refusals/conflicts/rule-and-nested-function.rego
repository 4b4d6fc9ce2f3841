# rego_type_error

package a

p.q := 1

p.q(x) := x
