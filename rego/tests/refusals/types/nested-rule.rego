# rego_type_error

package a

p.q := 1

allow if p.q == "a"
