# accepted

package a

p := .5
