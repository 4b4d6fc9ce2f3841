# panic 1.18-1.18

package a

allow if input.x == 1

else if {
	input.resource in [{"kind": "tool"}]
}
