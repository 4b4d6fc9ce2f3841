# rego_parse_error

package a

# METADATA
# authors:
# -	ann
allow := true
