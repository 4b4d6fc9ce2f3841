# rego_unsafe_var_error

package a

allow if {
	x != 0
	y = x
	y = 1
	x != 0
	y = x
	y = 1
}
