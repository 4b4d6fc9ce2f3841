# accepted

package a

p := input.x

allow if p == 1 with input.x as 1
