# rego_compile_error

package a

f(x) if {
	x := 1
	x == 1
}
