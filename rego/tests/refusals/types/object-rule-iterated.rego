# rego_type_error

package a

p[x] := 1 if x := "a"

allow if {
	some k, v in p
	k == 1
	v == 1
}
