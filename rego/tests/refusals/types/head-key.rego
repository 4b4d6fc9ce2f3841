# rego_type_error

package a

p[lower(1)] := 1
