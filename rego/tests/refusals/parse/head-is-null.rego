# rego_parse_error

package a

null := 1
