# rego_type_error

package a

allow if {
	input.x with inputs.x as 1
}
