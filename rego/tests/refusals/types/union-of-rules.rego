# rego_type_error

package a

p := 1 if input.x

p := 2 if input.y

allow if p == "a"
