# rego_parse_error

package a

# METADATA
# title: x
# 	# c
allow := true
