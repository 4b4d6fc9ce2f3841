# accepted

package a

allow if {
	some [x, y] in input.xs
	x == y
}
