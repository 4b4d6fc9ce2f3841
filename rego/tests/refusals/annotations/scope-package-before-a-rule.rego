# rego_parse_error

package a

# METADATA
# scope: package
# title: x
allow := true
