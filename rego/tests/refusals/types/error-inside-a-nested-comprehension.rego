# rego_type_error

package a

allow if {
	xs := [ys | ys := [y | y := 1; y == "a"]]
	xs[0]
}
