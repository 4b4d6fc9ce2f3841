# rego_parse_error

package a

import data.b[1]

allow if b.x
