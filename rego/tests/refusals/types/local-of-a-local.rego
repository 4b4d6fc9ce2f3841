# rego_type_error

package a

allow if {
	x := 1
	y := x
	y == "a"
}
