# rego_parse_error

package a

# METADATA
# 
allow := true
