# rego_parse_error

package a

not := 1
