# rego_unsafe_var_error

package a

p[x] := 1 if input.y
