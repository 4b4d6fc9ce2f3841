# rego_parse_error

package a

# METADATA
# authors:
# - organization: x
allow := true
