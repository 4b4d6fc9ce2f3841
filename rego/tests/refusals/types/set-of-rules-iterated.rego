# rego_type_error

package a

p contains 1

allow if {
	some x in p
	x == "a"
}
