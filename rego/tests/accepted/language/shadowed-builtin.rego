# accepted

package a

count := 1

p := count
