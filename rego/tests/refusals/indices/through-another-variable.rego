# panic 1.18-1.18

package a

allow if {
	resource := input.resource
	resource in [{"kind": "tool"}]
}
