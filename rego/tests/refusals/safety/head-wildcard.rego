# rego_unsafe_var_error

package a

p[_] := 1
