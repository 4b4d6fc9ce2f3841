# rego_type_error

package a

allow if {
	some i, x in [1, 2]
	i == "a"
	x == 1
}
