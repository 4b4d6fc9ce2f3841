# accepted

package a

allow if {
	some {"a": x} in input.xs
	x == 1
}
