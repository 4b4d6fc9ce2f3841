# accepted

package a

allow if input.x

allow if input.y
