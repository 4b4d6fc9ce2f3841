# rego_parse_error

package a

import future.keywords.or

allow if input.x or input.y
