# rego_parse_error

package a

allow := true

import data.b

count(b) > 1
