# rego_type_error

package a

allow if {
	lower(1)  == "a"
}
