# accepted

# METADATA
# title: x
# description: y
# authors:
# - alice <alice@x.org>
# related_resources:
# - https://x.org
# custom:
#  a: [1]
package a

# METADATA
# entrypoint: true
# scope: document
allow := true
