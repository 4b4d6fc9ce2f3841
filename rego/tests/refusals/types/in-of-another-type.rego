# rego_type_error 1.21-1.22

package a

allow if {
	"a" in [1, 2]
}
