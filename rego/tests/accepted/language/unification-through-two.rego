# accepted

package a

allow if {
	y = x
	x = 1
	y == 1
}
