# rego_parse_error

package a

default f(x, x) := 2
