# panic 1.18-1.18

package a

allow if input.resource in [{"kind": "tool"}]
