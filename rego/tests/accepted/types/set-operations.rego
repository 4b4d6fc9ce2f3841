# accepted

package a

allow if {
	({1} | {2}) & {1} == {1}
}
