# rego_compile_error

package a

allow if {
	data := 1
	data == 1
}
