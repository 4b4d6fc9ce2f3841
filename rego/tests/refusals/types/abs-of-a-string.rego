# rego_type_error

package a

allow if {
	abs("a") == 1
}
