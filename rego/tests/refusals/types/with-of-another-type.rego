# rego_type_error 1.18-1.19

package a

p := 1

allow if lower(p) == "a" with p as "A"
