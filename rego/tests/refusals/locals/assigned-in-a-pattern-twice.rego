# rego_compile_error

package a

allow if {
	[x, x] := [1, 2]
	x == 1
}
