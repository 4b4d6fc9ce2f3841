# rego_parse_error

package a

# METADATA
# labels:
#   ref: [a.b, !!null x]
allow := true
