# rego_type_error

package a

allow if {
	glob.match("*", ".", "a")
}
