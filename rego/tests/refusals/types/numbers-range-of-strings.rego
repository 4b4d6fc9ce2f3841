# rego_type_error

package a

allow if {
	numbers.range("a", "b") == []
}
