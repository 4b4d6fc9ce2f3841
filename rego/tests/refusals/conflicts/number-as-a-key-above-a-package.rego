# panic 1.18-1.22

package a

b.x[1] := 1 if input.x
# module
package a.b.x.y

c := 1
