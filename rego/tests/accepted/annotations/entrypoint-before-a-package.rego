# accepted

# METADATA
# entrypoint: true
package a

allow := true
