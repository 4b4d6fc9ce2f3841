# accepted

package a

allow if {
	every k, v in input.xs {
		k == v
	}
}
