# rego_type_error

package a

allow if {
	object.union({}, {1}) == {}
}
