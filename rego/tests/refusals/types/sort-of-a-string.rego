# rego_type_error

package a

allow if {
	sort("a") == []
}
