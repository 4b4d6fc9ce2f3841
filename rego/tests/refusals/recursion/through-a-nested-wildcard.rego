# rego_recursion_error

package a.b

p if data.a[_].p
