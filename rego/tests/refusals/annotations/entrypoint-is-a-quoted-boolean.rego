# rego_parse_error

package a

# METADATA
# entrypoint: "true"
allow := true
