# rego_compile_error

package a

allow if {
	x := y
	y := x
}
