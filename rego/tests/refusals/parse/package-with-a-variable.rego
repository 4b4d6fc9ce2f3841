# rego_parse_error

package a[b]

allow := true
