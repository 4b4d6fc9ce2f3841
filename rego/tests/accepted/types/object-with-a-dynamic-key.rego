# accepted

package a

allow if {
	x := {input.k: 1}
	x.a == 1
}
