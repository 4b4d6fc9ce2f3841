# rego_type_error

package a

allow if {
	units.parse(1) == 1
}
