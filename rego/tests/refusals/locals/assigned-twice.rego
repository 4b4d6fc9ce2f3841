# rego_compile_error

package a

allow if {
	x := 1
	x := 2
	x == 1
}
