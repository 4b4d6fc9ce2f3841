# rego_parse_error

package a

users contains "alice" := 1
