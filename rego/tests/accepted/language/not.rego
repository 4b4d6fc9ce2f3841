# accepted

package a

allow if not input.x
