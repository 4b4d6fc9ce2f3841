# rego_compile_error

package a

allow if {
	{"a": "b", "c": x} := {"a": 1, "c": 2}
	x
}
