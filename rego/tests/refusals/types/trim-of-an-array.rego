# rego_type_error

package a

allow if {
	trim(["a"], "a") == "a"
}
