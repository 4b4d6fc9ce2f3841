# accepted

package a

a[x].b[y] := 1 if {
	x := input.x
	y := input.y
}
