# rego_parse_error

package a

import rego

allow := true
