# rego_type_error

package a

allow if {
	json.filter("a", ["b"]) == {}
}
