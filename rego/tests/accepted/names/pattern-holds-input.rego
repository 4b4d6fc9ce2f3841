# accepted

package a

allow if {
	[input, x] := [1, 2]
	x == 2
}
