# rego_recursion_error

package a

p if q

q if p
