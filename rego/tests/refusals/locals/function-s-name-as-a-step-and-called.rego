# rego_type_error

package a

allow if {
	count(input.path, n)
	input.path[count] = n
}
