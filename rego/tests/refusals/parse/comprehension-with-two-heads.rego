# rego_parse_error

package a

x := [y, z | y := 1; z := 2]
