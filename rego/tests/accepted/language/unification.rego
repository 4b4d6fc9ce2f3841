# accepted

package a

allow if {
	[x, {"a": y}] = input.x
	x == y
}
