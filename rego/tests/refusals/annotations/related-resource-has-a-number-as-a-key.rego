# rego_parse_error

package a

# METADATA
# related_resources:
# - {1: x, ref: https://example.com}
allow := true
