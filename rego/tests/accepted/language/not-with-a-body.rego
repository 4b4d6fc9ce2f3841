# accepted

package a

import future.keywords.not

allow if {
	not {
		input.x
		input.y
	}
}
