# rego_compile_error

package a

allow if {
	1 == 1 with eq as 1
}
