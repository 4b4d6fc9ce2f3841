# rego_type_error

package a

allow if {
	max([1, 2, 3], max)
}
