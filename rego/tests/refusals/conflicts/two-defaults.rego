# rego_type_error

package a

default allow := false

default allow := true
