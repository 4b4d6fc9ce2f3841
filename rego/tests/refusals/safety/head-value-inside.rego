# rego_unsafe_var_error

package a

p := {"a": [x]} if input.y
