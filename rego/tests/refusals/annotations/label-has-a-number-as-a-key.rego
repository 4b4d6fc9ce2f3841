# rego_parse_error

package a

# METADATA
# labels:
#   a: {1: x}
allow := true
