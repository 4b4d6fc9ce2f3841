# rego_compile_error

package a

allow if {
	some x
	input.y
}
