# rego_parse_error

package a

# METADATA
# related_resources:
# - http://a b@host/
allow := true
