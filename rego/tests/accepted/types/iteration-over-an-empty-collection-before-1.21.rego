# accepted 1.18-1.20

package a

allow if {
	x := []
	x[_] == 1
}
