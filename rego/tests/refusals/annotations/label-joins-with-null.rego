# rego_parse_error

package a

# METADATA
# labels:
#   x:
#     <<: ~
allow := true
