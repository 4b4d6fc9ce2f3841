# rego_parse_error

package a

allow if {
	if := 1
	if == 1
}
