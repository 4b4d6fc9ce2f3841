# rego_compile_error

package a

allow if {
	count(x) := 1
}
