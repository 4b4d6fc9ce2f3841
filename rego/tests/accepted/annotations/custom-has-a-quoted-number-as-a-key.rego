# accepted

package a

# METADATA
# custom:
#   codes:
#     "404": not found
allow := true
