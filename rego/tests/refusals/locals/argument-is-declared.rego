# rego_compile_error

package a

f(x) if {
	some x
	input.x[x]
}
