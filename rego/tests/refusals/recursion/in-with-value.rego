# rego_recursion_error

package a

p if input.x with input.x as p
