# accepted

package a

x := [y | some y in input.xs]

y := {z | some z in input.xs}

z := {k: v | some k, v in input.xs}
