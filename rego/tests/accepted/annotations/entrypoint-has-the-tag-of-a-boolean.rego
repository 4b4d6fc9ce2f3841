# accepted

package a

# METADATA
# entrypoint: !!bool true
# title: Hello!
allow := true
