# rego_type_error

package a

allow if {
	xs := [x | x := lower(1)]
	xs[0]
}
