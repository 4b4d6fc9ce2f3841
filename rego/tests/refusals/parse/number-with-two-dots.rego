# rego_parse_error

package a

n := 1.2.3
