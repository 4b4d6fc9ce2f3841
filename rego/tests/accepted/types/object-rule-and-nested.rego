# accepted

package a

p[x] := 1 if x := input.x

p.q := "a"

allow if p.q == "a"
