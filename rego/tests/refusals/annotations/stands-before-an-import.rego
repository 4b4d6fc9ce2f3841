# rego_parse_error

package a

# METADATA
# title: x
import data.b

allow if b.x
