# rego_unsafe_var_error

package a

allow if {
	count(input.xs[y]) == z
}
