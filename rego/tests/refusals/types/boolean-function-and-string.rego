# rego_type_error

package a

allow if {
	startswith("a", "b") == "true"
}
