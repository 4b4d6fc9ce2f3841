# rego_unsafe_var_error

package a

f(x) := y if {
	y := x
}

f(x) := y if {
	x == 1
}
