# rego_parse_error

package a

users contains x if {
	x := input.x
} else contains y if {
	y := input.y
}
