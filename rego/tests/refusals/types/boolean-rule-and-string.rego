# rego_type_error

package a

p if input.x

allow if p == "true"
