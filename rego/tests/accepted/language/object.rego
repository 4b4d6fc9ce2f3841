# accepted

package a

roles[name] := role if {
	some name, role in input.roles
}
