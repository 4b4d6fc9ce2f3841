# rego_compile_error

package a

allow if {
	1 in [1] with internal.member_2 as true
}
