# rego_type_error 1.18-1.21

package a

allow if {
	x := []
	x[[1]]
}
