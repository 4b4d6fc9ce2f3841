# rego_type_error

package a

g(x) if {
	f(y)
	y == 1
}
