# rego_parse_error

package a

default default allow := 1
