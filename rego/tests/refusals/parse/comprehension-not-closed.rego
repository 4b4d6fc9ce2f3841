# rego_parse_error

package a

x := [y | y := 1
