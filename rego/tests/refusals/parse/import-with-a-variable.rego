# rego_parse_error

package a

import data[b]

allow if b.x
