# rego_unsafe_var_error

package a

allow if undefined_rule
