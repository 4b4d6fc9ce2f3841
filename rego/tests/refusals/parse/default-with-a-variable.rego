# rego_parse_error

package a

default allow := x
