# rego_type_error

package a

allow if {
	xs := {x: 1 | x := "a"}
	xs.a == "b"
}
