# rego_type_error

package a

p contains 1

p(x) := x
