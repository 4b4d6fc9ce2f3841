# rego_parse_error

package a

# METADATA
# scope: package
# entrypoint: true
allow := true
