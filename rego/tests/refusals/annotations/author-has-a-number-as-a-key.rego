# rego_parse_error

package a

# METADATA
# authors:
# - {1: x, name: ann}
allow := true
