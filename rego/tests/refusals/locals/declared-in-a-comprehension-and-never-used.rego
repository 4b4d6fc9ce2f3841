# rego_compile_error

package a

allow if {
	xs := [1 | some y; input.z]
	xs[0]
}
