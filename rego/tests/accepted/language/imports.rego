# accepted

package a

import data.b
import data.c.d as e
import input.x
import rego.v1
import future.keywords.in

allow if {
	b.x
	e.y
	x.z
}
