# accepted

package a

allow if {
	sprintf("%v %v", [1, "a"]) == ""
}
