# rego_parse_error

package a

# METADATA
# custom:
#   answers:
#     true: x
allow := true
