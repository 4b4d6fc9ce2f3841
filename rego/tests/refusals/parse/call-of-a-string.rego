# rego_parse_error

package a

allow if "f"(1)
