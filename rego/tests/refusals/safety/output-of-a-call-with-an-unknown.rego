# rego_unsafe_var_error

package a

allow if {
	y := count(x)
	y == 1
}
