# rego_type_error

package a

allow if {
	x := 1
	x.y == 1
}
