# rego_parse_error

package a

# METADATA
# title: "\ud83d\ude00"
allow := true
