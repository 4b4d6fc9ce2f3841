# accepted

package a["b-c"].d

p := 1
