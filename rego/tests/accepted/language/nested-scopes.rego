# accepted

package a

p if {
	x := 1
	y := [x | x := 2]
	y[0] == x
}
