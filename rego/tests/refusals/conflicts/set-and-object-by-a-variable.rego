# rego_type_error

package a

p contains x if x := input.x

p[x] := 1 if x := input.x
