# rego_type_error

package a

default p := false

allow if p == 1
