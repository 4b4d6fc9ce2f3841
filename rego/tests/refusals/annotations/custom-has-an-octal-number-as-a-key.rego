# rego_parse_error

package a

# METADATA
# custom:
#   modes:
#     010: x
allow := true
