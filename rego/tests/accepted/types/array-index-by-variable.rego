# accepted

package a

allow if {
	x := [1, 2]
	x[i] == 1
	i == 0
}
