# accepted

package a

allow if input.if.contains["in"].package == 1
