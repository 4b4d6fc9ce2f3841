# rego_unsafe_var_error

package a

allow if {
	[x] := {"a": 1}
	x
}
