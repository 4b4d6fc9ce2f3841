# accepted 1.20-1.22

package a

p := 1

allow if p == "a" with p as "a"
