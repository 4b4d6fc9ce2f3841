# rego_unsafe_var_error

package a

f(x) := y
