# rego_type_error 1.18-1.21

package a

x := set()

allow if base64.is_valid("x", x)
