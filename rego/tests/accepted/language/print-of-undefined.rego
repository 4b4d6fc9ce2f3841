# accepted

package a

allow if {
	print(input.a.b.c, data.x.y)
}
