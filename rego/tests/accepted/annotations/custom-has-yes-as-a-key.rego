# accepted

package a

# METADATA
# custom:
#   a:
#     yes: x
#     on: y
allow := true
