# rego_parse_error

package a

# METADATA
# related_resources:
# - description: x
allow := true
