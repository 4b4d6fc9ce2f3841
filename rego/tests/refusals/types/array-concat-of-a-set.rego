# rego_type_error

package a

allow if {
	array.concat([1], {2}) == [1, 2]
}
