# rego_parse_error

package a

# METADATA
# entrypoint: !x true
allow := true
