# rego_parse_error

package a

x := {1, 2
