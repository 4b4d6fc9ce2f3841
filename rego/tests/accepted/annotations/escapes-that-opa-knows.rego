# accepted

package a

# METADATA
# title: "\u00e9\x41\n\\"
# description: a\\b
allow := true
