# rego_parse_error

package a

# METADATA
# custom:
#   days:
#     2026-01-01: x
allow := true
