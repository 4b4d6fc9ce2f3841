# accepted

package a

p := 1

allow if p == "a" with p as "a"
