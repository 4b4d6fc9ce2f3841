# rego_type_error

package a

allow if {
	plus(1)
}
