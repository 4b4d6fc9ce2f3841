# accepted

package a

allow if {
	x > 1
	x = input.x
}
