# rego_parse_error

package a

if input.x
