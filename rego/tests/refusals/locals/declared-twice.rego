# rego_compile_error

package a

allow if {
	some x
	some x
	input.x[x]
}
