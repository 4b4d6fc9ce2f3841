# accepted

package a

allow if {
	print("x", input.x)
	input.y
}
