# rego_compile_error

package a

allow if {
	input := 1
	input == 1
}
