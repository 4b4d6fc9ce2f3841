# rego_parse_error

package a

# METADATA
# authors: alice
allow := true
