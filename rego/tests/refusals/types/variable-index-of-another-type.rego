# rego_type_error

package a

allow if {
	x := [1, 2]
	i := "a"
	x[i] == 1
}
