# panic 1.18-1.18

package a

f(x) if x in [{"kind": "tool"}]

allow if f(input.x)
