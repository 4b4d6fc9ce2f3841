# rego_compile_error

package a

f(input) := 1
