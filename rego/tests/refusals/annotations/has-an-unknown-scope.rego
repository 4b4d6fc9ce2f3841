# rego_parse_error

package a

# METADATA
# scope: everywhere
allow := true
