# rego_recursion_error

package a

p if p
