# rego_parse_error 1.18-1.19

package a

import future.keywords.or

allow if input.x or input.y
