# rego_type_error

package a

allow if {
	cast_null(null) == null
}
