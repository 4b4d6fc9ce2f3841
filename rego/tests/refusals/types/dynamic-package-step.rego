# rego_type_error

package a

p := 1

allow if data.a[1] == 1
