# rego_type_error

package a

p contains lower(1)
