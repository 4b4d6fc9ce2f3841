# accepted

package a

allow if count(input.xs, 2)
