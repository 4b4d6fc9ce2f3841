# rego_parse_error

# nothing
