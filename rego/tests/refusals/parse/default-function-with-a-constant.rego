# rego_parse_error

package a

default f(1) := 2
