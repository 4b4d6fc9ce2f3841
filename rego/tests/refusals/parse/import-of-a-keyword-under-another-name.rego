# rego_parse_error

package a

import future.keywords.in as of

allow := true
