# rego_unsafe_var_error

package a

p := 1 if {
	x := input.x
	x == 1
} else := x if {
	input.y
}
