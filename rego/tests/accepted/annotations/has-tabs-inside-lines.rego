# accepted

package a

# METADATA
# custom:
#   a:	b
#   c: [	d]
#   e: "f	g"
allow := true
