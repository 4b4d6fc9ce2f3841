# rego_type_error

package a

allow if {
	x := foo(1)
	x
}
