# rego_compile_error

package a

p := {"q": 1}

allow if p.q == 1 with data.a.p.q as 2
