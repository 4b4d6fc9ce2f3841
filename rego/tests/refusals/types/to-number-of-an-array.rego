# rego_type_error

package a

allow if {
	to_number([1]) == 1
}
