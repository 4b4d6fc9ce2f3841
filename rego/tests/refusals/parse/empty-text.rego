# rego_parse_error

