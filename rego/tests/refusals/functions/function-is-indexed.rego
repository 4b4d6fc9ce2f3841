# rego_type_error

package a

f(x) := x

allow if f[1]
