# rego_parse_error

package a

users["alice"]
