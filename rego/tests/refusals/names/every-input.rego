# rego_parse_error

package a

allow if {
	every input in [1] { input == 1 }
}
