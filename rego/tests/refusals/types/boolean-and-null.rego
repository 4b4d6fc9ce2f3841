# rego_type_error

package a

allow if {
	true == null
}
