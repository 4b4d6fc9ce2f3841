# rego_type_error

# METADATA
# scope: package
# title: x
package a

allow := true
# module
# METADATA
# scope: package
# title: y
package a

deny := true
