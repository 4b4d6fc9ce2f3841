# rego_type_error

package a

p := 1 if {
	input.x
} else := 2

allow if p == "a"
