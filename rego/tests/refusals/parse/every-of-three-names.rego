# rego_parse_error

package a

allow if {
	every a, b, c in input.x { a == b }
}
