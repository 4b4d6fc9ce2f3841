# accepted

package a

name := "a	b"
