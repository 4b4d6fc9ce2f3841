# rego_parse_error

package a

allow if {
	every [x] in input.x { x == 1 }
}
