# rego_type_error

package a

allow if {
	bits.and(true, 1) == 1
}
