# accepted

package a

a.b.c := 1

a.b.d contains 2
