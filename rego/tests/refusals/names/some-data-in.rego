# rego_recursion_error

package a

allow if {
	some data in [1]
	data == 1
}
