# accepted

package a

p := 1
