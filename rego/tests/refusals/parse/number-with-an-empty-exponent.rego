# rego_parse_error

package a

n := 1e
