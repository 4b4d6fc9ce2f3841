# rego_parse_error

package a

allow if input.x[]
