# rego_type_error

package a

default f(_) := 1

default f(_) := 2
