# rego_type_error

package a

allow if {
	x := count([1], 2)
	x
}
