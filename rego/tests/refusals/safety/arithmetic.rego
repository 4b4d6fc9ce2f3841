# rego_unsafe_var_error

package a

allow if {
	x + 1 == 2
}
