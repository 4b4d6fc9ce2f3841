# rego_unsafe_var_error

package a

allow if {
	input.x with input[y] as 1
}
