# rego_recursion_error

package a

p := count(p)
