# rego_parse_error 1.18-1.19

package a

import future.keywords.and

allow if input.x and input.y
