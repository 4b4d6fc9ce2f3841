# rego_unsafe_var_error

package a

allow if {
	xs := [y | input.x]
	xs[0]
}
