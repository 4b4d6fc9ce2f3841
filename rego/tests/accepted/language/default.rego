# accepted

package a

default allow := false

allow if input.x
