# rego_parse_error

package a

users contains 1 contains 2
