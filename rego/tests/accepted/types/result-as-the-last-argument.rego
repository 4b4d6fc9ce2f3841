# accepted

package a

allow if {
	count([1], x)
	x == 1
}
