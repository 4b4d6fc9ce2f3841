# rego_type_error

package a

allow if {
	strings.foo(1)
}
