# accepted

package a

allow if every x in input.xs { every y in x { y > 1 } }
