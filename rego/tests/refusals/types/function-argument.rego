# rego_type_error

package a

f(x) := lower(x)

allow if f(1) == "a"
