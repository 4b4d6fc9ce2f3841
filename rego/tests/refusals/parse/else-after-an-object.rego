# rego_parse_error

package a

roles[x] := 1 if {
	x := input.x
} else := 2 if {
	input.y
}
