# rego_type_error

package a

f([x, y]) := x + y

allow if f({"a": 1}) == 1
