# rego_type_error

package a

allow if {
	cast_array([1]) == [1]
}
