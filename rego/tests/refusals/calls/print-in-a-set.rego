# rego_type_error

package a

allow if {
	{print(1)}[_]
}
