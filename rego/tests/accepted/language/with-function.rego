# accepted

package a

f(x) := 1

allow if count([1, 2]) == 1 with count as f
