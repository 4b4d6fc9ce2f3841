# rego_type_error

package a

allow if {
	input.x with future.x as 1
}
