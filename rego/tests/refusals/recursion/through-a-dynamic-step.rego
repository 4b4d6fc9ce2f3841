# rego_recursion_error

package a

p := data[input.x]
