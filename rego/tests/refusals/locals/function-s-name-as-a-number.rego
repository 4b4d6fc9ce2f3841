# rego_type_error 1.18-1.18

package a

allow if {
	count = 1
}
