# rego_parse_error

package a

f(x := 1
