# accepted

package a

allow if {
	max([1, 2]) == "a"
}
