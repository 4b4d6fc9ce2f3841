# rego_parse_error 1.22-1.22

package a

import rego.v1 as one

allow := true
