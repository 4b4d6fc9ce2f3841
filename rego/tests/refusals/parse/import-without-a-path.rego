# rego_parse_error

package a

import

allow := true
