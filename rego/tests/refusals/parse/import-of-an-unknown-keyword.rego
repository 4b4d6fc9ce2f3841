# rego_parse_error

package a

import future.keywords.foo

allow := true
