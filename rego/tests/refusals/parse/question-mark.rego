# rego_parse_error

package a

x := input.x ? 1 : 2
