# accepted

package a

allow if {
}
