# rego_type_error

package a

p[x] contains 1 if x := input.x

p[x] := 1 if x := input.y
