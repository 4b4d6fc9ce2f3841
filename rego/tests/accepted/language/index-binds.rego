# accepted

package a

allow if {
	input.xs[i] == 1
	i > 2
}
