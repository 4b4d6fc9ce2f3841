# accepted

package a

p := 1 if input.x

p := "a" if input.y

allow if p == "a"
