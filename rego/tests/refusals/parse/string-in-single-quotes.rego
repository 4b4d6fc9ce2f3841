# rego_parse_error

package a

name := 'alice'
