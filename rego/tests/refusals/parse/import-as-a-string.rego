# rego_parse_error

package a

import data.b as "c"

allow := true
