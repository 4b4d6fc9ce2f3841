# rego_parse_error

package a

x := {y | y := 1 | y := 2}
