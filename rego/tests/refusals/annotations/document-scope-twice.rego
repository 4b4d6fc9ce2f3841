# rego_type_error

package a

# METADATA
# scope: document
# title: x
allow if input.x

# METADATA
# scope: document
# title: y
allow if input.y
