# rego_compile_error

package a

allow if {
	print(x)
	x == 1
}
