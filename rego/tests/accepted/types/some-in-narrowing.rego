# accepted

package a

allow if {
	some x in [1, "a"]
	x == "a"
}
