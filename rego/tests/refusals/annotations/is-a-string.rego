# rego_parse_error

package a

# METADATA
# only words
allow := true
