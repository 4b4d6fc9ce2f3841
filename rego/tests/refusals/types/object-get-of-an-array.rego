# rego_type_error

package a

allow if {
	object.get([1], 0, null) == 1
}
