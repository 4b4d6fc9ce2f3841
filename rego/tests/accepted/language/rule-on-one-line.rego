# accepted

package a

allow if input.x == 1
