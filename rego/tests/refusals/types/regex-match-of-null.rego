# rego_type_error

package a

allow if {
	regex.match(null, "a")
}
