# accepted

package a

allow if {
	x := input.y
	lower(x) == "a"
	x + 1 == 2
}
