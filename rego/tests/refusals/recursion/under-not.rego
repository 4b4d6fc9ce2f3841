# rego_recursion_error

package a

p if not p
