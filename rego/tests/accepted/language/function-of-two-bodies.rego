# accepted

package a

f(x) := 1 if x == 1

f(x) := 2 if x == 2
