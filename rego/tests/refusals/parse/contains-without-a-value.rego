# rego_parse_error

package a

users contains if input.x
