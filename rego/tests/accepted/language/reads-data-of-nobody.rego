# accepted

package a

allow if data.other.x == 1
