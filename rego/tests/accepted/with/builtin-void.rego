# accepted

package a

allow if {
	print(1) with print as 1
}
