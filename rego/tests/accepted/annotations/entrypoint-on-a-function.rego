# accepted

package a

# METADATA
# entrypoint: true
f(x) := x
