# rego_compile_error

package a

allow if {
	walk(1, x) with walk as 1
	x
}
