# rego_type_error

package a

allow if {
	cast_string("a") == "a"
}
