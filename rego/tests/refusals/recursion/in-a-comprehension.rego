# rego_recursion_error

package a

p := [x | x := p[_]]
