# accepted

package a

x := [(1 in [1]), 2]
