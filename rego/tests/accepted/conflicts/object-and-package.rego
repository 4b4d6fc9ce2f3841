# accepted

package a

b[x] := 1 if x := input.x
# module
package a.b

c := 1
