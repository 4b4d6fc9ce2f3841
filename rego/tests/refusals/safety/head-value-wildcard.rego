# rego_unsafe_var_error

package a

p := _ if input.x
