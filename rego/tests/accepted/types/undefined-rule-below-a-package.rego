# accepted

package a

allow if data.a.b.c == 1
# module
package a.b

d := 1
