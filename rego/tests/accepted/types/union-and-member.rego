# accepted

package a

allow if {
	x := [1, "a"][input.i]
	x == "a"
}
