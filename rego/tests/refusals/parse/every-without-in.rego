# rego_parse_error

package a

allow if {
	every x { x == 1 }
}
