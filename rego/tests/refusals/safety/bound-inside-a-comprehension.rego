# rego_unsafe_var_error

package a

allow if {
	xs := [y | y := 1]
	y == 1
}
