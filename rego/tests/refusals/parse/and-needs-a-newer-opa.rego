# rego_parse_error

package a

import future.keywords.and

allow if input.x and input.y
