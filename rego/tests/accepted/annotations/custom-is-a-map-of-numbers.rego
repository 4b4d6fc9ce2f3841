# accepted

package a

# METADATA
# custom:
#   404: not found
allow := true
