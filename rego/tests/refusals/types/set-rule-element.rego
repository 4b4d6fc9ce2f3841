# rego_type_error

package a

p contains "a"

allow if p[1]
