# rego_unsafe_var_error

package a

allow if {
	not input.x[i]
	i == 1
}
