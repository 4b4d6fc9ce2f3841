# rego_parse_error

package a

import future.keywords as words

allow := true
