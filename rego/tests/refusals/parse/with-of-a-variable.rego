# rego_type_error

package a

allow if input.x with x as 1
