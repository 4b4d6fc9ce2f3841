# rego_compile_error

package a

allow if {
	x := [y | input := 1; y := input]
	x[0]
}
