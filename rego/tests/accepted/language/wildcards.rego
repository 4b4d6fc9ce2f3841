# accepted

package a

allow if {
	input.xs[_] == 1
	input.ys[_][_] == 2
}
