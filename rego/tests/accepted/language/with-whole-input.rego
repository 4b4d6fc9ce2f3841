# accepted

package a

allow if input == 1 with input as 1
