# accepted

package a

p := input.a.b.c["d e"][0][input.x].f
