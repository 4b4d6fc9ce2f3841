# rego_type_error

package a

allow if {
	x := {1: 2}
	x.a == 1
}
