# accepted

package a

# METADATA
# title: a\/b
# description: 'c\/d'
allow := true
