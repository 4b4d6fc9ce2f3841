# accepted

package a

allow if {
	input.x == 1
	input.x == "a"
}
