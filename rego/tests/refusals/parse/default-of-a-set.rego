# rego_parse_error

package a

default users contains "alice"
