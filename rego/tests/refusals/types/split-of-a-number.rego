# rego_type_error

package a

allow if {
	split(1, ",")[0] == "1"
}
