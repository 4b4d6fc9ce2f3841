# rego_unsafe_var_error

package a

allow if inputs.x == 1
