# rego_parse_error 1.18-1.19

package a

import future.keywords

allow if not {input.x; input.y}
