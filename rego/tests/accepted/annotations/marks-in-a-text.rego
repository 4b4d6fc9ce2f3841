# accepted

package a

# METADATA
# description: allow if a != b, and not :c [see d]
# custom: {a: b!c, d: "e:f"}
allow := true
