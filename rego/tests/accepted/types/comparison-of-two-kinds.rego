# accepted

package a

allow if {
	1 < "a"
}
