# rego_recursion_error

package a

p := data.a
