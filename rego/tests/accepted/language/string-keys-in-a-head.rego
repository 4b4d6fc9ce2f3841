# accepted

package a

p["x"] := 1

p["y"] := 2
