# rego_unsafe_var_error

package a

allow if {
	xs := [y | y := [z | input.x]]
	xs[0]
}
