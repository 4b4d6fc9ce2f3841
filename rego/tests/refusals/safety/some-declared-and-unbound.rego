# rego_unsafe_var_error

package a

allow if {
	some x
	x == 1
}
