# rego_parse_error

package a

# METADATA
# schemas:
# - input..x: {type: string}
allow := true
