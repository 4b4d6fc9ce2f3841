# rego_parse_error

package a

# METADATA
# description: |
#   a b
allow := true
