# rego_parse_error

package a

# METADATA
# schemas:
# - input: {404: x}
allow := true
