# rego_parse_error

package a

# METADATA
# custom: [1]
allow := true
