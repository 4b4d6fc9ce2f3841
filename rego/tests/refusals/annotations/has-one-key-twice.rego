# rego_parse_error

package a

# METADATA
# title: x
# title: y
allow := true
