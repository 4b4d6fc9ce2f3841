# rego_parse_error

package a

users[x] {
	x := input.users[_]
}
