# rego_type_error

package a

allow if {
	x := "a"
	x + 1 == 2
}
