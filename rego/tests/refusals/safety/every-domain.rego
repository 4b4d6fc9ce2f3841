# rego_unsafe_var_error

package a

allow if {
	every x in xs { x == 1 }
}
