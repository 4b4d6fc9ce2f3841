# rego_type_error

package a

allow if {
	x := 1
	x == 1 with x as 2
}
