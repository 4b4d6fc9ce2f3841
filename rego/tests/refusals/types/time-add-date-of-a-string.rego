# rego_type_error

package a

allow if {
	time.add_date("a", 1, 1, 1) == 1
}
