# accepted

package a

allow if {
	every x in [1] { x == "a" }
}
