# rego_type_error

package a

allow if {
	x := {"a": 1}
	x.b == 1
}
