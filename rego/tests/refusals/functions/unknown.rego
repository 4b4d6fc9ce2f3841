# rego_type_error

package a

allow if {
	foo(1)
}
