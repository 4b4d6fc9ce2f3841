# rego_compile_error

package a

allow if {
	every x in [1] { some y; x == 1 }
}
