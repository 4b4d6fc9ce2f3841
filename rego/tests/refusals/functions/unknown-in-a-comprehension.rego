# rego_type_error

package a

allow if {
	x := [y | y := foo(1)]
	x[0]
}
