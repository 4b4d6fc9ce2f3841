# rego_unsafe_var_error

package a

p := x if input.y
