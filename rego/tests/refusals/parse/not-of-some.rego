# rego_parse_error

package a

allow if {
	not some x in input.xs
}
