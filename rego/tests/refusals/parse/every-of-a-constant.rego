# rego_parse_error

package a

allow if {
	every 1 in input.x { true }
}
