# rego_recursion_error

package a

p := input.x[p]
