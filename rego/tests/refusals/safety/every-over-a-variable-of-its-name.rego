# rego_unsafe_var_error

package a

allow if {
	x = 1
	every x in [1, 2, x] {
		x
	}
}
