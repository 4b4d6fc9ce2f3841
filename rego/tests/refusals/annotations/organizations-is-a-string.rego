# rego_parse_error

package a

# METADATA
# organizations: x
allow := true
