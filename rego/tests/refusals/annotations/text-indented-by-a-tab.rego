# rego_parse_error

package a

# METADATA
# description: |
#   	a
allow := true
