# rego_compile_error

package a

allow if {
	input.x := 1
}
