# rego_unsafe_var_error

package a

allow if {
	some input
	input == 1
}
