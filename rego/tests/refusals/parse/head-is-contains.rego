# rego_parse_error

package a

contains := true
