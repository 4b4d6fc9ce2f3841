# accepted

package a

default allow
