# rego_parse_error

package a

default allow := count([1])
