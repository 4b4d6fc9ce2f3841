# rego_parse_error

package a

some := 1
