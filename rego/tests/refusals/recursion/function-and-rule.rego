# rego_recursion_error

package a

f(x) := p

p := f(1)
