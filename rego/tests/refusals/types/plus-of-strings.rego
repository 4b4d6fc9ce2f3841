# rego_type_error

package a

allow if {
	"a" + "b" == "ab"
}
