# accepted

package a

# METADATA
# title: 1
allow := true
