# rego_parse_error

package a;

allow := true;
