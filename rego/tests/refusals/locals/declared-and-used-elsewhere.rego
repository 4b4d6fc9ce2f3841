# rego_compile_error

package a

allow if {
	some x, y
	input.x[x]
}
