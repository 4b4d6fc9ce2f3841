# rego_compile_error

package a

p contains 1

allow if p[1] with data.a.p[1] as 2
