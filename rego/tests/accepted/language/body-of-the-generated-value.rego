# accepted

package a

p contains 1 if true

q[1] := 2 if true
