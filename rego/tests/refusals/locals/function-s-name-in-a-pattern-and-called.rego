# rego_type_error

package a

allow if {
	walk({"a": 1}, [[walk], v])
}
