# rego_recursion_error

package a

p := $"{p}"
