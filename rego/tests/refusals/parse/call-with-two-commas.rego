# rego_parse_error

package a

allow if startswith(input.x,, "a")
