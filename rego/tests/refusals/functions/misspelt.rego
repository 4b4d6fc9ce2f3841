# rego_type_error

package a

allow if {
	contians("a", "b")
}
