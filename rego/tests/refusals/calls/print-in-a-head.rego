# rego_type_error

package a

x := print(1)
