# rego_type_error

package a

p[x] := 1 if x := "a"

allow if p.a == "b"
