# accepted

package a

p := -input.x
