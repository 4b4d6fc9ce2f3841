# accepted

package a

allow if {
	some (x in input.x)
}
