# rego_compile_error

package a

allow if {
	not x := 1
	x == 1
}
