# rego_type_error

package a

allow if {
	time.now_ns(1, 2)
}
