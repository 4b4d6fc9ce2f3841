# panic 1.18-1.22

package a

b[null] := 1 if input.x
# module
package a.b

c := 1
