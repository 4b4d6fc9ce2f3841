# rego_parse_error

package a

allow if {
	input.x with 1 as 2
}
