# rego_parse_error

allow := true
