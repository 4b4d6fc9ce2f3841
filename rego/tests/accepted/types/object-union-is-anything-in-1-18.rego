# accepted

package a

allow if {
	object.union({"a": 1}, {}).b == 1
}
