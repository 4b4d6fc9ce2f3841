# rego_unsafe_var_error

package a

allow if {
	x := strings.count[0]
	x == 1
}
