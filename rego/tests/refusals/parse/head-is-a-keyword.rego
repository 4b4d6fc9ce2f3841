# rego_parse_error

package a

if := true
