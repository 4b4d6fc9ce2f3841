# rego_type_error

package a

allow if {
	split("a", ",") == "a"
}
