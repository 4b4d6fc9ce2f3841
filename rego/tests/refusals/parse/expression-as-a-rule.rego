# rego_parse_error

package a

count(input.x) > 1
