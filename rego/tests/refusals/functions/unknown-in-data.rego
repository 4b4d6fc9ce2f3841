# rego_type_error

package a

allow if {
	data.b.f(1)
}
