# rego_parse_error

package a

f(every) := 1
