# rego_parse_error

package a

every if input.x
