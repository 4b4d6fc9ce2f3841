# rego_recursion_error

package a

p contains x if x := p[_]
