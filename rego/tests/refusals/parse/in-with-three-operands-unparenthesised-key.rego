# rego_parse_error

package a

allow if [1, 2 in input.x]  in
