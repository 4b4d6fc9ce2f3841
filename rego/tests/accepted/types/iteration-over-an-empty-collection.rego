# accepted

package a

allow if {
	x := []
	x[_] == 1
}
