# rego_unsafe_var_error

package a

p := 1 if {
	input.x
} else := 2 if {
	y > 1
}
