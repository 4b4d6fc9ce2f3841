# rego_parse_error

package a

name := + "x"
