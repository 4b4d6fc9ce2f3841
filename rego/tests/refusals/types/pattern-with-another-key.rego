# rego_unsafe_var_error

package a

allow if {
	{"a": x} := {"b": 1}
	x
}
