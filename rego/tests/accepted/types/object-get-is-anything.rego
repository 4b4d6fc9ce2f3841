# accepted

package a

allow if {
	object.get(input, "a", null) == 1
}
