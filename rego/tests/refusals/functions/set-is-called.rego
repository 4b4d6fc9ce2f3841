# rego_type_error

package a

p contains 1

allow if p(1)
