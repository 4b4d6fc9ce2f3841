# rego_parse_error

package a

default f([x]) := 2
