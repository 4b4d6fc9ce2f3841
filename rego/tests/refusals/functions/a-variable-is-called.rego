# rego_type_error

package a

allow if {
	f := 1
	f(1)
}
