# rego_type_error

package a

default p := 1

p contains 2
