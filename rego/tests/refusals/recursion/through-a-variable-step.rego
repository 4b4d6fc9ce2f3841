# rego_recursion_error

package a

p if {
	some x
	data.a[x]
}
