# rego_type_error

package a

f(x) := x

y := f
