# rego_parse_error

package a

import rego.v2

allow if input.x
