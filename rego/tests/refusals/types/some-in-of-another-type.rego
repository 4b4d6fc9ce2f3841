# rego_type_error

package a

allow if {
	some x in [1, 2]
	x == "a"
}
