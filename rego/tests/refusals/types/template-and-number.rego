# rego_type_error

package a

allow if {
	$"{input.x}" == 1
}
