# rego_recursion_error

package a

f(x) := f(x - 1) if x > 0
