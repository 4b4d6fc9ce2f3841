# rego_parse_error

package a

default allow := false
else := true if input.x
