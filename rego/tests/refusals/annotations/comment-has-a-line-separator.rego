# rego_parse_error

package a

# METADATA
# title: x # a b
allow := true
