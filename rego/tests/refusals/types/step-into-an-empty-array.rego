# rego_type_error 1.21-1.21

package a

allow if {
	some x in []
	x
}
