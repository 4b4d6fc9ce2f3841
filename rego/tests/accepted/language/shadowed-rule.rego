# accepted

package a

p := 1

q if {
	p := 2
	p == 2
}
