# accepted

package a

allow if some 1 in input.xs
