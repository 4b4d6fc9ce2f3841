# rego_parse_error

package a

# METADATA
# entrypoint: tRUE
allow := true
