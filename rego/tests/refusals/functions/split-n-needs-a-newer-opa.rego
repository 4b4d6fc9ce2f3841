# rego_type_error

package a

allow if {
	strings.split_n("a", "b", 1) == ["a"]
}
