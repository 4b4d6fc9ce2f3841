# rego_compile_error

package a

allow if {
	some x, x
	input.x[x]
}
