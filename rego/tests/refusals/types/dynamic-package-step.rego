# rego_type_error

package a

p := 1

allow if {
	p == 1
	data.a[1] == 1
}
