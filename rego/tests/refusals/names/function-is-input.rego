# rego_compile_error

package a

input(x) := x
