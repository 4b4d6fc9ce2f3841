# rego_parse_error

package a

allow := 1 {
	input.x
}
