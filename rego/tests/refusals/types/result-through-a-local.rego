# rego_type_error

package a

allow if {
	x := lower("A")
	x == 1
}
