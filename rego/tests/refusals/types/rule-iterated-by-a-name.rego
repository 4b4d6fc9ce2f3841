# rego_type_error

package a

p := [1, 2]

allow if {
	x := "a"
	p[x] == 1
}
