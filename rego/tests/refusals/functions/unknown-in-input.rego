# rego_type_error

package a

allow if {
	input.f(1)
}
