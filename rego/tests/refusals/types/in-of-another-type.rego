# rego_type_error

package a

allow if {
	"a" in [1, 2]
}
