# rego_compile_error

package a

allow if {
	every x in input.xs { input.y }
}
