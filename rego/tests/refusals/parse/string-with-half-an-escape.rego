# rego_parse_error

package a

name := "\u12"
