# accepted

package a

default p := [x | x := input.xs[_]]
