# rego_type_error

package a

allow if {
	set_diff({1}, {2}) == {1}
}
