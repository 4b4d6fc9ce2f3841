# accepted

package a

p := 1

allow if p == 2 with p as 2
