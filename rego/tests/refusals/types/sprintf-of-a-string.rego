# rego_type_error

package a

allow if {
	sprintf("%s", "a") == "a"
}
