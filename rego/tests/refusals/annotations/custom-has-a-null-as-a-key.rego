# rego_parse_error

package a

# METADATA
# custom:
#   answers:
#     ~: x
allow := true
