# accepted

package a

b.x[1] := 1 if input.x

d[2] := 1 if input.x
# module
package a.b.y

c := 1
