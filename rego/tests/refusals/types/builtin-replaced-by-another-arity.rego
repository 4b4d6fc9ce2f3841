# rego_type_error

package a

f(x, y) := x

allow if count([1]) == 1 with count as f
