# rego_type_error

package a

allow if {
	io.jwt.decode(1)[0].x
}
