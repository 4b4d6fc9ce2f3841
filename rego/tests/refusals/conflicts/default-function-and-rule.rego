# rego_type_error

package a

default p(_) := 1

p := 2
