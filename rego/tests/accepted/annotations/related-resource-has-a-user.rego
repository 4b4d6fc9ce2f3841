# accepted

package a

# METADATA
# related_resources:
# - https://user:pass@example.com/
allow := true
