# rego_type_error

package a

p contains 1

p.q contains 2
