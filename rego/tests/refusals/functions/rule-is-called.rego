# rego_type_error

package a

p := 1

allow if p(1)
