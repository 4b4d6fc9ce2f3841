# rego_type_error

package a

allow if {
	x := true
	x[_] == 1
}
