# accepted

package a

allow if input.x in {1, 2}
