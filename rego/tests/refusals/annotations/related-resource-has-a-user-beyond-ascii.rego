# rego_parse_error

package a

# METADATA
# related_resources:
# - http://é@host/
allow := true
