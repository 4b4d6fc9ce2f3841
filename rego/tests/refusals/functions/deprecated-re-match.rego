# rego_type_error

package a

allow if {
	re_match("a", "b")
}
