# rego_parse_error

package a

f(x y) := 1
