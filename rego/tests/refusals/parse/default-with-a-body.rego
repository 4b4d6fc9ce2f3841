# rego_parse_error

package a

default allow := true if {
	input.x
}
