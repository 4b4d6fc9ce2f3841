# rego_parse_error

package a

# METADATA
# title: x
# 	description: y
allow := true
