# rego_type_error

package a

p := 1

q := p

r := q

allow if r == "a"
