# rego_type_error

package a

allow if {
	[1] | [2] == [1, 2]
}
