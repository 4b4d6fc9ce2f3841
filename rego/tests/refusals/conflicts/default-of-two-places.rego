# rego_type_error

package a

default p.q := 1

default p.q := 2
