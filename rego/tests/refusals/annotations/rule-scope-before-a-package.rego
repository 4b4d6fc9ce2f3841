# rego_parse_error

# METADATA
# scope: rule
# title: x
package a

allow := true
