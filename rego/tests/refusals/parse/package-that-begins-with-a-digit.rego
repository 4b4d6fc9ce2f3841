# rego_parse_error

package 1a

allow := true
