# rego_type_error

package a

allow if {
	uuid.parse(1).version == 4
}
