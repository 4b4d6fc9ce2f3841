# rego_parse_error

package a

x := [not input.x]
