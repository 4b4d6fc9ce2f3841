# rego_type_error

package a

allow if {
	walk(input, x)
	x == 1
}
