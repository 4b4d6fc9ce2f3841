# rego_recursion_error 1.18-1.20

package a

p[x].denied if {
	x := "a"
	not p[x].allowed
}

p[x].allowed if {
	x := "a"
	input.y
}
