# rego_parse_error

package a

# METADATA
# custom:
#   ? a
#   :	b
allow := true
