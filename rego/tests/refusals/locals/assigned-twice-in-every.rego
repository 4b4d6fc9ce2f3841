# rego_compile_error

package a

allow if {
	every x in [1] { y := x; y := 2 }
}
