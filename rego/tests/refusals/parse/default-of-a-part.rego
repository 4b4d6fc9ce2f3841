# rego_unsafe_var_error

package a

default users[x] := 1
