# rego_recursion_error

package a

p := 1 if {
	input.x
} else := p
