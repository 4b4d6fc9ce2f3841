# rego_unsafe_var_error

package a

allow if {
	input.x == {y: 1}
}
