# rego_compile_error

package a

f(x) := x

allow if f(1) == 1 with data.a.f.g as 2
