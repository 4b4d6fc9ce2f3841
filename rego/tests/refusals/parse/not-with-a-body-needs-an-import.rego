# rego_parse_error

package a

allow if {
	not {
		input.x
		input.y
	}
}
