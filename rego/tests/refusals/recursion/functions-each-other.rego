# rego_recursion_error

package a

f(x) := g(x)

g(x) := f(x)
