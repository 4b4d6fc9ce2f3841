# rego_parse_error 1.18-1.19

package a

allow if ({input.x})
