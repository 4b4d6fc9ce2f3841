# rego_compile_error

package a

allow if {
	x := count(y)
	y := [x]
}
