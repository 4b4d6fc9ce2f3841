# accepted

package a

users contains x if {
	some x in input.users
}
