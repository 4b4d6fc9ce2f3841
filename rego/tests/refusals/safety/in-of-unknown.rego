# rego_unsafe_var_error

package a

allow if {
	1 in xs
}
