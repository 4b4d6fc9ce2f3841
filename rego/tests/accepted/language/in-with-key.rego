# accepted

package a

allow if "a", 1 in input.x
