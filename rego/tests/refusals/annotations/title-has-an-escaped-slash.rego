# rego_parse_error

package a

# METADATA
# title: "a\/b"
allow := true
