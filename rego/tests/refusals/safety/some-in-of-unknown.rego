# rego_unsafe_var_error

package a

allow if {
	some x in xs
	x == 1
}
