# rego_unsafe_var_error

package a

p[x].q := 1 if input.y
