# rego_type_error

package a

allow if {
	x := {"a": [{"b": 1}]}
	x.a[0].b == "c"
}
