# rego_type_error

package a

allow if {
	count([1]) == "a"
}
