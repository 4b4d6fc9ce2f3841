# rego_parse_error

package a

1 := true
