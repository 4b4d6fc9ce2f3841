# rego_parse_error

package a

# METADATA
# scope: subpackages
# title: x
allow := true
