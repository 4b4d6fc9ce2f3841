# rego_parse_error

package

allow := true
