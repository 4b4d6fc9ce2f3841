# rego_parse_error

package a

allow if {
	some a, b, c in input.x
}
