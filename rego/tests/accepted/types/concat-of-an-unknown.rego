# accepted

package a

allow if {
	concat(",", input.x) == "a"
}
