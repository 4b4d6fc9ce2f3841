# rego_recursion_error

package a

p[x] := y if {
	x := "a"
	y := p.b
}
