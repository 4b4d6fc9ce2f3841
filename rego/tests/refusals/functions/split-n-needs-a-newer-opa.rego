# rego_type_error 1.18-1.18

package a

allow if {
	strings.split_n("a", "b", 1) == ["a"]
}
