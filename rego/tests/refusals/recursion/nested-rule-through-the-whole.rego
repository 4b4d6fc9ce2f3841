# rego_recursion_error

package a

p.q := p
