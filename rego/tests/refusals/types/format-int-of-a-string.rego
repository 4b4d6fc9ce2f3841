# rego_type_error

package a

allow if {
	format_int("1", 10) == "1"
}
