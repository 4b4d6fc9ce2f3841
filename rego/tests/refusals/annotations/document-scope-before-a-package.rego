# rego_parse_error

# METADATA
# scope: document
# title: x
package a

allow := true
