# accepted

package a

allow if {
	x := json.unmarshal(input.x)
	x.a.b == 1
}
