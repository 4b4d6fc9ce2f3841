# rego_compile_error

package a

allow if {
	x := 1
	some x in [1]
	x == 1
}
