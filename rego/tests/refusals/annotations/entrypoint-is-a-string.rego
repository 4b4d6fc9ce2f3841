# rego_parse_error

package a

# METADATA
# entrypoint: "yes please"
allow := true
