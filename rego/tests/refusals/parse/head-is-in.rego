# rego_parse_error

package a

in := 1
