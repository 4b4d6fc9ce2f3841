# rego_unsafe_var_error

package a

allow if {
	[x, y] := [1, 2, 3]
	x == y
}
