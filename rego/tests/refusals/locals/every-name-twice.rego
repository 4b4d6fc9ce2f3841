# rego_compile_error

package a

allow if {
	every x, x in input.xs { x == 1 }
}
