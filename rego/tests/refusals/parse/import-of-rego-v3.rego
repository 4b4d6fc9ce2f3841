# rego_parse_error

package a

import rego.v3

allow := true
