# rego_type_error

package a

allow if {
	sum(["a"]) == 1
}
