# accepted

package a

allow := true
