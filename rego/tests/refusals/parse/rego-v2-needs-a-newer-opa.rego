# rego_parse_error 1.18-1.21

package a

import rego.v2

allow if input.x
