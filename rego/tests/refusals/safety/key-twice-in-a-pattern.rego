# rego_unsafe_var_error

package a

p contains x if {
	y = input.c
	{"b": 1, "b": x} = {"a": 1, "b": y}
}
