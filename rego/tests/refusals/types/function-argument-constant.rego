# rego_type_error

package a

f("a") := 1

allow if f(1) == 1
