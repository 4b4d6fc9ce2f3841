# rego_parse_error

package a

allow if {
	some x in
}
