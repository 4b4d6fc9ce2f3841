# rego_recursion_error

package a

p := 1

allow if p == 1 with data.a as {}
