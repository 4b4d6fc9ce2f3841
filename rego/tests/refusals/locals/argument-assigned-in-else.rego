# rego_compile_error

package a

f(x) := 1 if {
	x == 1
} else := 2 if {
	x := 2
	x == 2
}
