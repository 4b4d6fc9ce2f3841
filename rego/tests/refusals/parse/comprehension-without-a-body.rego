# rego_parse_error

package a

x := [y | ]
