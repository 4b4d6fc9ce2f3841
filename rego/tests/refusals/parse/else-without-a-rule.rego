# rego_parse_error

package a

else := 1 if input.x
