# rego_recursion_error

package a

p if data.a[_]
