# rego_parse_error

package a

x := $"a {1; 2}"
