# rego_parse_error

package a

# METADATA
# schemas: x
allow := true
