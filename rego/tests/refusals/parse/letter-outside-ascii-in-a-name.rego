# rego_parse_error

package a

näme := 1
