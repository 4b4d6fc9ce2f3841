# rego_compile_error

package a

f([data]) := 1
