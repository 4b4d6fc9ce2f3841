# rego_parse_error

package a

# METADATA
# description: [x]
allow := true
