# rego_unsafe_var_error

package a

allow if {
	count([1]) == 1 with count as lower_two
}
