# accepted

package a

allow if {
	x != 0
	y = x
	y = 1
	y = 1
}
