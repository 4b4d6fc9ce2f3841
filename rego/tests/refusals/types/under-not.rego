# rego_type_error

package a

allow if {
	not 1 == "a"
}
