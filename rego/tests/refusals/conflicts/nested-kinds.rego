# rego_type_error

package a

p.q contains 1

p.q := 2
