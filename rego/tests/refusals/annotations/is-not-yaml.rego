# rego_parse_error

package a

# METADATA
# title: [
allow := true
