# rego_type_error 1.21-1.22

package a

allow if {
	"a", 1 in [1, 2]
}
