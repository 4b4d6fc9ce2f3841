# rego_type_error

package a

allow if {
	[x | x := 1] == 1
}
