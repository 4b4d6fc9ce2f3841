# rego_compile_error

package a

allow if {
	x := "a"
	-x == 1
}
