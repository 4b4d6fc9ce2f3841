# accepted

package a

allow if data[1] == 1
