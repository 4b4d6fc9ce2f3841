# rego_parse_error

package a

n := 0x10
