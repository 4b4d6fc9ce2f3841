# rego_type_error

package a

allow if {
	concat(",", "a") == "a"
}
