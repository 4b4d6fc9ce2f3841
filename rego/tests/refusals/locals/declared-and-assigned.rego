# rego_compile_error

package a

allow if {
	some x
	x := 1
	x == 1
}
