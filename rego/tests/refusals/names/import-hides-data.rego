# rego_parse_error

package a

import input.b as data

allow if data.x
