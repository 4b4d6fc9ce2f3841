# accepted

package a

p = 1 if input.x
