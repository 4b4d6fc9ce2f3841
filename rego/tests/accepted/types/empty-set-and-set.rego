# accepted

package a

allow if {
	set() == {1}
}
