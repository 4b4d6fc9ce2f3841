# rego_parse_error

package a

# METADATA
# compile:
#   a: name
#   !x a: {a.b: ref}
allow := true
