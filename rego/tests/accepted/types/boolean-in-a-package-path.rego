# accepted

package a

allow if data.b[true] == 1
