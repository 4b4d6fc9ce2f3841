# rego_parse_error

package a

package b

allow := true
