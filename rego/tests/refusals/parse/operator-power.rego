# rego_parse_error

package a

x := 2 ** 3
