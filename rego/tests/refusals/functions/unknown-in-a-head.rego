# rego_type_error

package a

p := foo(1) if {
	true
}
