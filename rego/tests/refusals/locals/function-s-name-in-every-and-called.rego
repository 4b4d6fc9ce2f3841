# rego_type_error

package a

allow if {
	every n, gte in [1, 2] {
		gte(n, 0)
	}
}
