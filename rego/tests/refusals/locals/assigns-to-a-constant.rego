# rego_compile_error

package a

allow if {
	1 := input.x
}
