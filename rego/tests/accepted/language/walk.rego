# accepted

package a

allow if {
	walk(input, [path, value])
	value == 1
	count(path) > 1
}
