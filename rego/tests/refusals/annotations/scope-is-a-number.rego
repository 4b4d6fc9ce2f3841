# rego_parse_error

package a

# METADATA
# scope: 1
allow := true
