# rego_type_error

package a

allow if {
	cast_set([1]) == {1}
}
