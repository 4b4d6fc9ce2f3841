# rego_unsafe_var_error

package a

p contains x if input.y
