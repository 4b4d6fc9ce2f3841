# accepted

package a

f(1) := 1

f("a") := 2

allow if f("a") == 1
