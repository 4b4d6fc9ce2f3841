# rego_unsafe_var_error

package a

allow if {
	y := [1]
	y[x] == 1
	z == 2
}
