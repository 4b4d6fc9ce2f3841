# rego_parse_error

package a

f(x) {
	x == 1
}
