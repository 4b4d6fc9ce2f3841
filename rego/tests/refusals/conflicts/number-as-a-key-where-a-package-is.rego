# panic 1.18-1.22

package a

b[1] := 1 if input.x
# module
package a.b

c := 1
