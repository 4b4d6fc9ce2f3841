# rego_type_error

package a

allow if {
	concat(",", [1]) == "1"
}
