# rego_parse_error

package a

# METADATA
# custom:
#   b: {rule: :a}
allow := true
