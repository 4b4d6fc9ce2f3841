# accepted 1.19-1.22

package a

allow if data.b[true] == 1
