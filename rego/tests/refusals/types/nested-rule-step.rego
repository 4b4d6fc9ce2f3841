# rego_type_error

package a

p.q := 1

allow if p.q.r == 1
