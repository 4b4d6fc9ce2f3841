# rego_unsafe_var_error

package a

allow if {
	xs := [1 | y > 1]
	xs[0]
}
