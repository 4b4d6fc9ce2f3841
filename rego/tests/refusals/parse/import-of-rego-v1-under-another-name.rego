# rego_parse_error

package a

import rego.v1 as one

allow := true
