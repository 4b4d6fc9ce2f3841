# rego_parse_error

package a

import future.other

allow := true
