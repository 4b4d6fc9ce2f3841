# rego_parse_error

package a

# METADATA
# related_resources:
# - ref: "http://a b"
allow := true
