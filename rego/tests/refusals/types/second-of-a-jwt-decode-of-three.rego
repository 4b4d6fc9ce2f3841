# rego_type_error

package a

allow if {
	io.jwt.decode("x")[3]
}
