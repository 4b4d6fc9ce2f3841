# accepted

package a

allow if data.b.x == 1 with data.b.x as 1
