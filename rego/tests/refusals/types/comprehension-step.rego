# rego_type_error

package a

allow if {
	xs := {x | x := 1}
	xs.a == 1
}
