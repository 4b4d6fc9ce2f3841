# accepted

package a

p := 1 if {
	input.x
} else := 2 if {
	input.y
} else := 3
