# rego_parse_error

package a

allow {
	input.x
}
