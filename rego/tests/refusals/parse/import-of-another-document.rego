# rego_parse_error

package a

import other.b

allow if b.x
