# rego_compile_error

package a

allow if {
	every k, v in input.xs { v == 1 }
}
