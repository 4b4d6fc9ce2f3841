# rego_parse_error

package a

a.b(x).c := 1
