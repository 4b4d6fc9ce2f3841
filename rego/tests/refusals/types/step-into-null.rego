# rego_type_error

package a

allow if {
	x := null
	x.y
}
