# rego_type_error

package a

allow if {
	count(print(1)) > 0
}
