# rego_parse_error

package a

f(x) contains y if {
	y := x
}
