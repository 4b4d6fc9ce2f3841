# rego_parse_error

package a

true := 1
