# rego_type_error

package a

allow if {
	x := [y | y := any([true])]
	x[0]
}
