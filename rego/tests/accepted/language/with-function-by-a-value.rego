# accepted

package a

allow if time.now_ns() == 1 with time.now_ns as 1
