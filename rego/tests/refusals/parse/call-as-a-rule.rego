# rego_parse_error

package a

print("x")
