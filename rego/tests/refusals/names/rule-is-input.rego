# rego_compile_error

package a

input := 1
