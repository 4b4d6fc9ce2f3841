# accepted 1.22-1.22

package a

allow if {
	x := []
	x[_] == 1
}
