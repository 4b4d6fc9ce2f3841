# rego_type_error

package a

allow if {
	{"a": 1} == [1]
}
