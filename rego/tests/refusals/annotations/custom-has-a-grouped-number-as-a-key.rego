# rego_parse_error

package a

# METADATA
# custom:
#   amounts:
#     1_000: x
allow := true
