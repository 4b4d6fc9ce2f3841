# rego_parse_error

package a

name := "al
ice"
