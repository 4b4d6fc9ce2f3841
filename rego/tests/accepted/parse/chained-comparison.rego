# accepted

package a

allow if 1 < input.x < 3
