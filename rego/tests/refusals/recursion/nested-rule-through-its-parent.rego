# rego_recursion_error

package a

p.q := 1 if p.r

p.r := 1 if p.q
