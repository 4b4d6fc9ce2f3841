# rego_type_error

package a

allow if {
	x := [print(1)]
	x[0]
}
