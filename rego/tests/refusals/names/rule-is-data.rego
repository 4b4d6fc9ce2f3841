# rego_compile_error

package a

data := 1
