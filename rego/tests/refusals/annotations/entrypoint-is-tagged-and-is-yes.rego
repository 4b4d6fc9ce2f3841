# rego_parse_error

package a

# METADATA
# entrypoint: !!bool yes
allow := true
