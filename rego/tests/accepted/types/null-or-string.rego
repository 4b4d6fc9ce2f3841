# accepted

package a

allow if {
	x := {"a": null, "b": "c"}[input.k]
	x == null
}
